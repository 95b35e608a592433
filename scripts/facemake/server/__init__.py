"""The engines over a network: `facemake serve` and the client that the processors use.

`wire` has the words of the protocol, which both sides check; `settings` what a server is told;
`store` its sessions, which are folders; `jobs` runs their jobs, each in a process of its own
(`worker`); `app` answers requests; `client` asks, at an `address`, with `options`, by what
`sending` has. `guard`, `answers`, `forms`, `refusal` and `http` are what any server of ours stands
on (`facemake.embedserver` is another). `app`, `answers`, `forms`, `guard` and `http` need the extra
`serve`.
"""
