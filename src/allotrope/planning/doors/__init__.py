"""What a topology says of doors and of its log, judged: of the one to the network, of those to other units."""
