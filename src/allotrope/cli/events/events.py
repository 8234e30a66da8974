"""`allotrope events`: its verbs, each a file beside this one."""

from cyclopts import App

VERBS = {
    "ls": "List dead letters: events that a handler could not take, and those of the same key behind them.",
    "show": "Show a dead letter: what it says, why, how often it was tried, what waits behind it.",
    "replay": "Give a component events of the log again, as new inputs; without --yes it only counts them.",
    "redrive": "Deliver dead letters again, in the order of their keys, or discard them.",
    "processes": "Draw the processes of several steps that an app has, and list the instances that have not ended.",
    "verify": "Read all that an app keeps, and list what is damaged, with its place and remedy.",
    "rebuild": "Make views again from the log, of an app that does not run.",
}

events = App(name="events", help="What an app has in its log.", result_action="return_value")
for _verb, _says in VERBS.items():
    events.command(f"allotrope.cli.events.{_verb}:{_verb}", name=_verb, help=_says)
