"""The command line. Exit status: 0 done, 1 the run failed, 2 the input is wrong (a line for each mistake, no
traceback).

Only the standard library and Typer are imported before a command runs, so that `--help` answers at once.
"""

import io
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Literal

import typer

app = typer.Typer(
    help="Train a language model to reason: pretraining, SFT, RL with verifiable rewards; Ray, vLLM, DeepSpeed.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _show_version(is_wanted: bool) -> None:
    if is_wanted:
        from importlib.metadata import version

        typer.echo(f"rlreason {version('rlreason')}")
        raise typer.Exit


@app.callback()
def _options(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options of `rlreason` itself."""


ConfigPath = Annotated[
    Path, typer.Argument(metavar="PATH", help="A configuration file (one stage) or a recipe folder.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...", help="Overrides, such as learner.lr=1e-5; in a recipe 30-rl.learner.lr=1e-5."
    ),
]


Force = Annotated[
    bool,
    typer.Option("--force", help="Resume although what decides the result has changed, or lines would be lost."),
]


@app.command()
def run(
    path: ConfigPath,
    overrides: Overrides = None,
    run_dir: Annotated[Path | None, typer.Option(help="Where results go; default runs/NAME-TIME.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint of --run-dir.")] = False,
    force: Force = False,
    start: Annotated[
        str | None, typer.Option("--from", metavar="STAGE", help="Run this stage of a recipe and all later ones again.")
    ] = None,
    only: Annotated[str | None, typer.Option(metavar="STAGE", help="Run this stage of a recipe again, alone.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check all that can be known before anything starts, and stop.")
    ] = False,
) -> None:
    """Run a stage or a recipe here, on a local Ray or on the cluster that RAY_ADDRESS names.

    With --resume, overrides of the run so far are kept, and stages of a recipe that are done are left alone while their
    configuration and inputs are the same.
    """
    from rlreason.recipes.recipe import run_path

    run_path(
        path,
        overrides or [],
        run_dir,
        resume=resume,
        force=force,
        start=start,
        only=only,
        dry_run=dry_run,
    )


@app.command()
def plan(path: ConfigPath, overrides: Overrides = None) -> None:
    """Say what would run where: workers, CPUs, GPUs, memory. Launches nothing."""
    from rlreason.recipes.plan import describe
    from rlreason.text import shown

    typer.echo(shown(describe(path, overrides or [])))


@app.command(name="eval")
def evaluate(
    path: ConfigPath,
    overrides: Overrides = None,
    run_dir: Annotated[Path | None, typer.Option(help="Where results go; default runs/NAME-TIME.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Begin again in --run-dir.")] = False,
    force: Force = False,
) -> None:
    """Run a configuration of `stage: evaluate`."""
    from rlreason.recipes.recipe import load_steps, run_path
    from rlreason.types import UserError

    if any(step.config.stage != "evaluate" for step in load_steps(path, overrides or [])):
        raise UserError(f"{path}: `rlreason eval` wants `stage: evaluate`; use `rlreason run` for others")
    run_path(path, overrides or [], run_dir, resume=resume, force=force)


@app.command(name="check-reward")
def check_reward(
    function: Annotated[
        str,
        typer.Argument(metavar="FILE.py:FN|STAGE.yaml", help="The reward; or a stage's file, for all of its rewards."),
    ],
    data: Annotated[
        str | None, typer.Argument(metavar="DATA", help="Rows with prompts and golds; a stage has its own.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Rows that are read, from the start.")] = 200,
    seconds: Annotated[float, typer.Option(min=0.1, help="Scoring stops after so long.")] = 2.5,
    timeout: Annotated[
        float | None, typer.Option(min=0.001, help="Seconds for one response; default: the reward's own.")
    ] = None,
    args: Annotated[str | None, typer.Option(help="The function's options, such as '{\"ignore_case\": true}'.")] = None,
    prompt_column: Annotated[str | None, typer.Option(help="Default: prompt, question, problem...")] = None,
    answer_column: Annotated[str | None, typer.Option(help="Default: answer, ground_truth...")] = None,
    response_column: Annotated[str | None, typer.Option(help="Good responses or programs: solution, code...")] = None,
) -> None:
    """Try a reward on gold and corrupted answers. Status 0: it tells them apart; 1: it does not, or breaks."""
    from rlreason.rewards.dryrun.probes import Columns
    from rlreason.stages import check_reward as dry_run
    from rlreason.types import UserError

    columns = Columns(prompt=prompt_column, answer=answer_column, response=response_column)
    options = dry_run.Options(columns=columns, limit=limit, seconds=seconds, timeout_s=timeout)
    if function.endswith((".yaml", ".yml")):
        if args is not None:
            raise UserError("--args: the file of a stage has the `args` of its rewards; take it out")
        raise typer.Exit(dry_run.check_stage(Path(function), data, options=options))
    if Path(function).is_dir():
        raise UserError(f"{function} is a folder: give the file of one stage, such as {function}/30-rl.yaml")
    if data is None:
        raise UserError(f"{function}: say on which rows to try it: rlreason check-reward {function} DATA.jsonl")
    raise typer.Exit(dry_run.check_reward(function, data, options=options, args=args or "{}"))


@app.command()
def chat(
    model: Annotated[str, typer.Argument(metavar="MODEL_DIR", help="A checkpoint, a run directory, or a hub name.")],
    system: Annotated[str | None, typer.Option(help="System message.")] = None,
    base: Annotated[bool, typer.Option("--base", help="Continue text, whatever the model is.")] = False,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer.")] = 512,
    temperature: Annotated[float, typer.Option(min=0.0, help="Of sampling; 0 is greedy.")] = 0.7,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same answers.")] = None,
    dtype: Annotated[Literal["float32", "bfloat16"], typer.Option(help="Of weights and arithmetic.")] = "float32",
) -> None:
    """Talk to any checkpoint. An assistant keeps the conversation, a base model continues text."""
    from rlreason.stages import chat as stage

    stage.chat(
        model,
        system=system,
        base=base,
        max_tokens=max_tokens,
        temperature=temperature,
        seed=seed,
        dtype=dtype,
    )


@app.command()
def label(
    tasks: Annotated[Path, typer.Argument(metavar="TASKS.jsonl", help="Rows with prompts, or the database to export.")],
    model: Annotated[list[str] | None, typer.Option(help="Who writes the answers; may be given again.")] = None,
    samples: Annotated[int, typer.Option(min=1, help="Answers of each model to each prompt.")] = 4,
    database: Annotated[Path, typer.Option("--db", help="Where labels are kept.")] = Path("labels.sqlite"),
    export: Annotated[Path | None, typer.Option(metavar="OUT.jsonl", help="Write the database's labels there.")] = None,
    form: Annotated[Literal["rankings", "pairs"], typer.Option(help="Of the exported rows.")] = "rankings",
    prompt_column: Annotated[str, typer.Option(help="Column with the prompt.")] = "prompt",
    base: Annotated[bool, typer.Option("--base", help="Prompts are plain text to continue.")] = False,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer.")] = 512,
    context_tokens: Annotated[int, typer.Option(min=2, help="Prompt and answer together.")] = 2048,
    temperature: Annotated[float, typer.Option(min=0.01, help="Of sampling.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Of the answers and their order on the page.")] = 0,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 8400,
    token: Annotated[str | None, typer.Option(envvar="RLREASON_TOKEN", help="Default: a random one.")] = None,
    labellers: Annotated[
        str, typer.Option(metavar="NAME,NAME", help="Each gets a link of their own; the same --token, the same links.")
    ] = "",
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="By which browsers may reach it; may be given again. Required off loopback."),
    ] = None,
) -> None:
    """A web page where people rank answers, and with --export the labels as preference rows."""
    from rlreason.config.schema import RolloutConfig
    from rlreason.types import UserError
    from rlreason.web.label import command

    if export is not None:
        command.export(tasks, export, form)
        return
    if max_tokens >= context_tokens:
        raise UserError(f"--max-tokens {max_tokens}: must be smaller than --context-tokens {context_tokens}")
    rollout = RolloutConfig(max_response_tokens=max_tokens, max_context_tokens=context_tokens, temperature=temperature)
    command.label(
        tasks,
        model or [],
        database,
        samples=samples,
        prompt_column=prompt_column,
        chat=not base,
        rollout=rollout,
        seed=seed,
        host=host,
        port=port,
        token=token,
        labellers=labellers,
        allow_hosts=allow_host or [],
    )


@app.command()
def submit(
    path: ConfigPath,
    overrides: Overrides = None,
    address: Annotated[str, typer.Option(help="The cluster's job server, such as http://127.0.0.1:8265.")] = "",
    run_dir: Annotated[Path | None, typer.Option(help="Where results go, on storage that the cluster sees.")] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Show the job's output until it ends; Ctrl-C leaves it running.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint of --run-dir.")] = False,
) -> None:
    """Run a stage or a recipe as a Ray job on a cluster."""
    from rlreason.jobs import submit_job
    from rlreason.types import UserError

    if resume and run_dir is None:
        raise UserError("--resume: say which run with --run-dir")
    raise typer.Exit(submit_job(path, overrides or [], address, run_dir, follow=follow, resume=resume))


@app.command()
def stop(
    job: Annotated[str, typer.Argument(metavar="ID", help="What `rlreason submit` said, such as raysubmit_...")],
    address: Annotated[str, typer.Option(help="The cluster's job server.")],
) -> None:
    """Stop a job that was submitted; it writes a checkpoint first, from which `submit --resume` goes on."""
    from rlreason.jobs import stop_job

    stop_job(job, address)


def main() -> None:
    """Entry point of the `rlreason` command."""
    from rlreason.types import RunError, UserError, lines_of

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that knows only ASCII shows question marks
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        message = "error: no folder for temporary files can be written to; set TMPDIR to one that can"
        sys.exit(_fail([message], 2))
    try:
        app()
    except UserError as error:
        sys.exit(_fail([f"error: {line}" for line in lines_of(error)], 2))
    except RunError as error:
        sys.exit(_fail([f"failed: {error}"], 1))


def _fail(lines: list[str], status: int) -> int:
    from rlreason.text import shown

    for line in lines:
        print(shown(" ".join(line.split())), file=sys.stderr)
    return status


if __name__ == "__main__":
    main()
