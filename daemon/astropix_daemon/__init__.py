"""What our daemons share: a configuration that is checked as a whole, and metrics over HTTP."""
