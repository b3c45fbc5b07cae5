"""The kernel's side of multicast: interfaces, sockets, memberships, and what is read from a socket."""
