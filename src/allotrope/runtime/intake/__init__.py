"""What comes in: origins, the log as waiting room, the order in which deliveries have their turn, and a start."""
