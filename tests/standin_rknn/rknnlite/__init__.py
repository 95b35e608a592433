"""A stand-in for Rockchip's package; see README.md."""
