"""PROJECT: readings of electricity meters come in; the surprising ones wait for a person."""

from allotrope import App

from PROJECT.data import Usage
from PROJECT.doors import Desk, Model, Watch
from PROJECT.sample import sample

app = App("PROJECT", Usage, Model, Watch, Desk, sample=sample)
