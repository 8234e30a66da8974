"""Units as processes of one machine: a fleet of replicas, their directory, and the lines between them."""
