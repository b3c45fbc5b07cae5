"""Why does my monitor see nothing? Checks, each of which names the cause and the command that mends it.

Reading is separate from judging. The shells read: `host` (interfaces, the kernel's files, the firewall's
rules), `listening` (what arrives) and `probe` (what a relay answers). The pure modules judge what was read, a
small function for each check: `path`, `joining`, `settings`, `firewall`, `arrivals`, `querier`, `environment`
and `relay`. `examination` puts both together. Each fault is written down once, beside the check that finds
it; docs/troubleshooting.md is made from these.
"""
