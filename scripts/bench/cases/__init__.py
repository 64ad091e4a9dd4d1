"""The cases, each by a name of its own. A case has

  name        as `make bench CASES=NAME` has it
  summary     what stands above its table
  run         measures, with lines for the results
  bars        what it has to show, from the results
"""

from . import again, copies, growth, memory, network, validation

ALL = {case.name: case for case in [
    copies.Big(), copies.Tiny(), copies.Sink(), copies.Shared(), again.Again(), network.Road(), network.Latency(),
    network.Link(), memory.Memory(), validation.Validate(), growth.Growth(),
]}
# What a plain `make bench` runs: growth has plots of its own.
USUAL = [name for name in ALL if name != "growth"]
