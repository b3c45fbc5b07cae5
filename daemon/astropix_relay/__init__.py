"""The relay daemon: joins multicast groups and republishes every readout over ZeroMQ."""
