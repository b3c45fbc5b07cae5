"""The scenes of conformance/sessions.jsonl, and how they are played to a client in any language."""
