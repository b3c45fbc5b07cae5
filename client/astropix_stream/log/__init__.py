"""Reading a stream from a NATS JetStream log, in which a bridge keeps what relays have published."""
