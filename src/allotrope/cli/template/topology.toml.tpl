# Where PROJECT runs, and how. Every preset is such a file; this one starts from a preset and changes what it needs to.
#
#     allotrope plan PROJECT --topology topology.toml     what comes of it, or every reason why it cannot be
#     allotrope check PROJECT --topology topology.toml    the same answers as under the presets

base = "modular-monolith"  # one process, boundaries enforced, events in a durable log

# What an answer has survived when it is given: none, process (kill -9) or power (a lost disk cache as well).
durability = "process"

# At most this many calls of the model at once; who waits longer than the queue is told to come back.
[component.Model]
concurrency = 8
queue = 256

# A setting is a plain field of a component. Another value gives other answers, and `check` will say so.
# [setting]
# Watch.threshold = 0.995
