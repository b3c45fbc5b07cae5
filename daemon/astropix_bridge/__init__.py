"""The bridge: from relays into a NATS JetStream log, each readout once and in order."""
