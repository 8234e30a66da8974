# PROJECT

Readings of electricity meters come in. A model says which ones are surprising; those wait for a person. Made by
`allotrope new`: change the names, the rules and the model, and keep the shape.

Install it with its tests, in an environment of its own or in one that has allotrope already:

```sh
python -m venv .venv && . .venv/bin/activate
pip install allotrope pytest     # from a checkout: pip install FOLDER-OF-ALLOTROPE pytest
```

Then, from this folder:

```sh
allotrope plan PROJECT     # what runs where under the default preset, and what is wrong with it, all at once
allotrope run PROJECT -i readings.jsonl    # feed it one JSON object a line, read the answers
allotrope check PROJECT    # a month of readings under every preset, disturbed and killed: 0 differences
python -m pytest           # the tests, each under every preset
```

A line of `readings.jsonl` is an event or a call, as in

```json
{"event": "Reading", "data": {"id": "attic-1", "meter": "attic", "kwh": 6.1, "at": "2024-03-01T06:00:00Z"}}
{"call": "Desk.waiting"}
```

`allotrope trace` shows what came of it. What a run keeps is in `.allotrope`; another `--folder` begins anew.

| file | what it holds |
|---|---|
| `PROJECT/events.py` | what happens: events and faults |
| `PROJECT/doors.py` | the components: what the app reacts to, what it can be asked and told |
| `PROJECT/rules.py` | the rules, pure functions |
| `PROJECT/data.py` | the view and the rows of the tables |
| `PROJECT/learning.py` | the one door to the machine-learning library |
| `PROJECT/sample.py` | the inputs that `check` replays |
| `topology.toml` | where it runs, and how: no other file knows |

**Return events; read views; never write elsewhere; all values are immutable.** Time and chance are dependencies, too:
`clock: Clock`, `chance: Chance`. What breaks these rules is refused by `plan` or named by `check`.
