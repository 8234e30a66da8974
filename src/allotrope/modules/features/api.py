"""The door of features: the built-in aggregates."""

from allotrope.modules.features.aggregates import Count, Last, Max, Mean, Min, Sum

__all__ = ["Count", "Last", "Max", "Mean", "Min", "Sum"]
