# What the rules need to know of 3DI; with facemake's own engine it has no steps and no files.
from facemake.backends.threedi import Engine
from facemake.backends.threedi.programs import needs, program, programs

ENGINE = None if PLAN.config["engine"] == "native" else Engine(PLAN.config["engine"])
UNDISTORTS = PLAN.config["camera"]["calibration"] is not None
STEPS = [one.step for one in programs(ENGINE, UNDISTORTS)] if ENGINE else []
# What a marked failure left is not kept for good, and nothing that is made of it: a cache key says
# by what a file was made, not whether that failed once. Asked for again, it is tried again.
CACHE_RESULTS = CACHE and (
    ENGINE is None or PLAN.config["threedi"]["failures"] == "stop"
)


def of_steps(*steps):
    """The archives of raw files of these steps."""
    return [f"{OUT}/3di/.steps/{step}/{{shard}}.zip" for step in steps]


def before_step(step):
    """The archives of the steps that this one reads from."""
    return of_steps(*needs(ENGINE, program(ENGINE, step), UNDISTORTS))


def calibration_file():
    """The camera's calibration file, which 3DI reads itself."""
    path = PLAN.config["camera"]["calibration"]
    return [os.path.expanduser(path)] if path else []


def engine_files():
    """What expressions need of 3DI."""
    if ENGINE is None:
        return {}
    return {
        "localized": f"{OUT}/3di/.steps/localized/{{shard}}.zip",
        "model": f"{OUT}/3di/.steps/model.npz",
    }


def raw_files():
    """The lists of 3DI's raw files; the files lie beside them by sample."""
    if ENGINE is None:
        return []
    return expand(f"{OUT}/3di/.shards/{{shard}}.json", shard=PLAN.shards)
