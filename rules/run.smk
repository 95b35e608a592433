# A run's start and end, and what is said in between.
import atexit
import re
from dataclasses import replace

from snakemake.common import NOTHING_TO_BE_DONE_MSG
from snakemake.io import is_flagged
from snakemake_interface_logger_plugins.common import LogEvent

from facemake.runtime import interrupts, modules
from facemake.runtime.failures import stage_and_shard
from facemake.watch.run import Job, write_end, write_start
from facemake.watch.ticker import Ticker
from facemake.watch.words import failures_of

RULES = workflow.current_basedir
IS_MODULE = not workflow.modifier.is_main_snakefile()

# where the results are for those who do not ask Snakemake: another workflow may say `prefix:`
PLACED = replace(
    PLAN,
    config={**PLAN.config, "outdir": str(workflow.modifier.modify_path(OUT, "output"))},
)

HERE = Path.cwd()
QUIET = {about.name for about in workflow.output_settings.quiet or ()}
TICKER = Ticker(
    PLACED.config["outdir"],
    quiet={"RULES", "PROGRESS"} <= QUIET,
    silent="ALL" in QUIET,
)


def stage_of(job):
    """Stage and shard of a job of ours, None of another one: what its log is named after."""
    ours = job.log and job.rule.basedir == RULES
    return stage_and_shard(str(job.log[0])) if ours else None


def jobs_of_run():
    """Every job of this run's graph by its stage, for those who watch it."""
    order = {rule: index for index, rule in enumerate(workflow.rules)}
    to_do = set(workflow.dag.needrun_jobs())
    for job in sorted(
        workflow.dag.jobs, key=lambda job: (order[job.rule], str(job.log))
    ):
        known = stage_of(job)
        if known is None:
            continue
        outputs = [str(file) for file in job.output if not is_flagged(file, "temp")]
        until, part_of = None, ""
        if not outputs:
            outputs = [str(file) for file in job.output]
            until = next(filter(None, map(stage_of, workflow.dag.depending[job])), None)
        if "segment" in job.wildcards.keys():
            part_of = PLAN.segments[job.wildcards.sample]["shard"]
        yield Job(*known, job in to_do, outputs, part_of, until)


def is_from_cache(job):
    """Whether the cache has what a job makes, which then loads nothing."""
    store = job.rule.cache
    if workflow.workflow_settings.cache is None or not (store and store.output):
        return False
    try:
        return workflow.async_run(store.exists(job))
    except Exception:  # whoever cannot tell computes
        return False


def what_is_lacking():
    """Models and packages that jobs of this run would look for in vain."""
    from facemake import presence  # a job of a cluster needs none of it

    first = {}
    for job in workflow.dag.needrun_jobs():
        first.setdefault(job.rule, job)
    ours = [one for one in workflow.rules if one in first and one.basedir == RULES]
    recipes = {one: first[one].params.get("recipe") for one in ours}
    recipes = {one: recipe for one, recipe in recipes.items() if recipe}
    folder = place.cache_folder(PLAN.config) or planning.WORK
    apart = bool(workflow.deployment_settings.deployment_method)
    if not presence.faults(recipes.values(), folder, apart=apart):
        return []
    # few runs come here: what the cache has is not computed, whatever is lacking
    computed = {
        job.rule
        for job in workflow.dag.needrun_jobs()
        if job.rule in recipes and not is_from_cache(job)
    }
    wanted = (recipe for one, recipe in recipes.items() if one in computed)
    return presence.faults(wanted, folder, apart=apart)


def start_run():
    """Write the plan for the jobs, say what runs, and who.

    Only here: it comes after Snakemake has locked the folder, and not in a dry run.
    """
    if lacking := what_is_lacking():
        logger.error("\n".join(["nothing was started:", *lacking]))
        sys.exit(2)
    for one in workflow.rules:
        if one.basedir == RULES:
            one.run_func = interrupts.starting_on_hold(one.run_func)
    runs.write_owner()
    if not IS_MODULE:  # the jobs of another workflow may want what lies there
        modules.keep_out_of_folder()
    if IN_CONTAINERS:
        paths = (row.path for rows in PLAN.packs.values() for row in rows)
        PLAN.mounts.extend(mounts.folders(PLACED.config, paths))
        mounts.use(PLAN.mounts)
    somebody_left = planning.write(PLAN)
    place.note_use(PLACED.config, done=False)
    TICKER.live()
    atexit.register(TICKER.end)
    write_start(PLACED.config["outdir"], jobs_of_run())
    jobs = sum(1 for _ in workflow.dag.needrun_jobs())
    cores = workflow.resource_settings.cores if workflow.local_exec else None
    print(planning.describe(PLAN, jobs, cores), file=sys.stderr)
    for path in orphans.set_aside(PLACED, somebody_left):
        print(f"no longer in the plan: {path}", file=sys.stderr)
    interrupts.insist()
    TICKER.start()
    atexit.register(end_run)


def end_run(done=None):
    """Say how each sample ended, naming those that gave nothing, and what failed.

    Args:
        done: well, or not; None where Snakemake does not say, or was stopped.
    """
    from facemake import summary

    atexit.unregister(end_run)
    try:  # Snakemake went back to where it was called, where it failed by itself
        os.chdir(HERE)
    except OSError:
        return
    TICKER.stop()
    place.note_use(PLACED.config, done=True)
    what_failed, all_is_done = failures_of(Path())
    done = all_is_done if done is None else done
    write_end(done)
    TICKER.end()
    ended = summary.of_run(Path(PLACED.config["outdir"]), PLAN.shards, done)
    TICKER.say("\n".join(filter(None, [ended, what_failed])))
    made = {stage_of(job): job.output for job in workflow.dag.jobs}
    # on the terminal alone: the log goes along with the results
    if done and "ALL" not in QUIET and ("report", "") in made:
        page = Path(made["report", ""][0]).absolute()
        print(f"the report: {page}", file=sys.stderr)


def is_looked_at_only():
    """A dry run, one that is to do nothing besides its jobs, or none at all."""
    how = workflow.execution_settings
    return how is None or how.no_hooks or workflow.dryrun


ON_REQUEST = "Terminating processes on user request"
"""How Snakemake's word for ^C begins."""


class Events(logging.Handler):
    """What Snakemake has no hook for, or none in a workflow that another imports: its own log."""

    said = False

    def emit(self, record):
        event = getattr(record, "event", None)
        if is_looked_at_only():
            if event == LogEvent.RUN_INFO and workflow.dryrun and not self.said:
                self.said = True
                if lacking := what_is_lacking():
                    logger.error("\n".join(["a run would not start:", *lacking]))
                jobs = sum(1 for _ in workflow.dag.needrun_jobs())
                print(planning.describe(PLAN, jobs), file=sys.stderr)
            return
        if event == LogEvent.RUN_INFO and IS_MODULE:
            start_run()
        elif event == LogEvent.JOB_ERROR:
            logs = [str(log) for log in getattr(record, "log", None) or ()]
            for log in logs:
                TICKER.failed(log, getattr(record, "rule_msg", None), logs)
        elif record.getMessage().startswith(ON_REQUEST):
            runs.interrupted = True


NOISE = (
    *("Select jobs to execute", "Execute "),
    *("Moving output file ", "Symlinking output file ", "Copying output file "),
    *("Output file ", "Some jobs were triggered by provenance"),
    *(
        "Assuming unrestricted shared filesystem",
        "Using shell: ",
        "Conda environments: ",
    ),
    # the plugin for SLURM: two lines of each job, and its guess of an account, which has a fault
    *("Auto-selected partition ", "Cleaning up SLURM log files "),
    *(
        "No SLURM account given",
        "No account was given",
        "Unable to guess SLURM account",
    ),
)
"""How what Snakemake says of each job, and of itself, begins even when it is to be quiet."""


BROKEN = "RuleException:\nCalledProcessError in file "
"""How what Snakemake says of a job that fails begins; ours are named with their reason and log."""


SUBMITTED = re.compile(r"Job \d+ has been submitted with ")


def is_shown(record):
    """What is left for the terminal, which is then free for it."""
    said = record.getMessage()
    if "PROGRESS" not in QUIET and not workflow.dryrun:
        return True
    if said.startswith(NOISE) or SUBMITTED.match(said):
        return False
    if said.startswith(BROKEN) and str(RULES) in said:
        return False
    TICKER.clear()
    return True


class NothingToDo(logging.Handler):
    """Ends a run in which there is nothing to do, after Snakemake's own words for that."""

    def emit(self, record):
        if record.msg == NOTHING_TO_BE_DONE_MSG and not is_looked_at_only():
            end_run(done=True)


if workflow.is_main_process:
    if "RULES" in QUIET:
        for handler in logger.handlers:
            if not isinstance(handler, logging.FileHandler):  # Snakemake's log has all
                handler.addFilter(is_shown)
    logger.handlers.insert(0, Events())  # before what writes on the terminal
    logger.addHandler(NothingToDo())
