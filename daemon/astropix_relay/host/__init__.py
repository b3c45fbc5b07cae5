"""The host that the relay runs on: systemd, the log, the kernel's queues."""
