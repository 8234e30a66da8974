# PROJECT

Readings of electricity meters come in. A model says which ones are surprising; those wait for a person. Made by
`allotrope new`: change the names, the rules and the model, and keep the shape.

```sh
allotrope plan PROJECT     # what runs where under the default preset, and what is wrong with it, all at once
allotrope check PROJECT    # a month of readings under every preset, disturbed and killed: 0 differences
python -m pytest           # the tests, each under every preset (pip install pytest)
```

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
