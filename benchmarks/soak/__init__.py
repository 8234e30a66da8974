"""A long load on the fraud example under microservices, and what each process holds meanwhile."""
