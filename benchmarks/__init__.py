"""What the framework costs: measured on the same work with and without it. Not shipped."""
