"""Sites: where the deliveries of a host are run and what they do is kept: here, or in units of their own."""
