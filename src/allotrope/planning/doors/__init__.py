"""What a topology says of doors, judged: of the one to the network, and of those to other units."""
