"""``heedful gauge train``: train the gauge transformer on your text, with the options of ``heedful train``."""

from typing import Annotated, Literal

import typer

from heedful.commandline import options
from heedful.commandline.errors import guarded
from heedful.training import command as shared

Irreps = Annotated[str, typer.Option(metavar="IRREPS", help="Heads of a layer, as '5x0e + 3x1e + 1x2e'.")]
Layers = Annotated[int, typer.Option(metavar="N", min=1, help="Layers.")]
Covariance = Annotated[
    Literal["isotropic", "diagonal", "full"], typer.Option(metavar="NAME", help="isotropic, diagonal or full.")
]
Kappa = Annotated[float, typer.Option(metavar="X", help="Temperature, above 0.")]
KappaRule = Annotated[
    Literal["shared", "sqrt", "dim", "calibrated", "learned"],
    typer.Option(metavar="NAME", help="shared; times sqrt or dim of a head; calibrated on the first batch; learned."),
]
Target = Annotated[
    float | None,
    typer.Option("--target-concentration", metavar="X", help="Nats from uniform of calibrated heads; .5 without it."),
]
FeedForward = Annotated[
    Literal["learned", "variational", "none"],
    typer.Option(metavar="NAME", help="learned, variational (a step down the free energy) or none."),
]
MaskSelf = Annotated[bool, typer.Option("--mask-self/--see-self", help="Tokens that see others see not themselves.")]
PositionMeans = Annotated[bool, typer.Option("--position-means/--no-position-means", help="Positions have means.")]
TokenFrames = Annotated[
    Literal["learned", "none"], typer.Option(metavar="NAME", help="learned, or none: no rotation by token.")
]
PositionFrames = Annotated[
    Literal["none", "learned", "sinusoidal"], typer.Option(metavar="NAME", help="none, learned or sinusoidal.")
]
LayerNorm = Annotated[bool, typer.Option("--layer-norm", help="Normalise means; this is not equivariant.")]
Residual = Annotated[bool, typer.Option("--residual/--no-residual", help="Add messages to what entered.")]
Alignment = Annotated[
    float, typer.Option("--alignment", metavar="X", help="Weight of the divergence from what a token attends to.")
]
Prior = Annotated[float, typer.Option(metavar="X", help="Weight of the divergence from embedded beliefs, a token.")]
MeanStd = Annotated[float, typer.Option(metavar="X", help="Deviation of untrained means.")]
PositionStd = Annotated[float, typer.Option(metavar="X", help="Deviation of untrained means of positions.")]
FrameNorm = Annotated[float, typer.Option(metavar="X", help="Length of untrained angles, up to pi.")]
Vocabulary = Annotated[
    int | None, typer.Option(metavar="N", min=258, help="Vocabulary of the learned tokenizer. Without it: 2048.")
]
Length = Annotated[int | None, typer.Option(metavar="N", min=2, help="Tokens of a window. Without it: 128.")]
Decay = Annotated[float, typer.Option(metavar="X", min=0, help="Weight decay of matrices; beliefs have none.")]
Tied = Annotated[bool, typer.Option("--tied/--untied", help="The head is the table of means, or has its own weights.")]


@guarded
def gauge(
    out: shared.Out,
    irreps: Irreps = "5x0e + 3x1e + 1x2e",
    layers: Layers = 1,
    covariance: Covariance = "diagonal",
    kappa: Kappa = 1.0,
    kappa_rule: KappaRule = "dim",
    target_concentration: Target = None,
    feed_forward: FeedForward = "learned",
    mask_self: MaskSelf = True,
    position_means: PositionMeans = True,
    token_frames: TokenFrames = "learned",
    position_frames: PositionFrames = "none",
    layer_norm: LayerNorm = False,
    residual: Residual = True,
    alignment: Alignment = 0.0,
    prior: Prior = 0.0,
    mean_std: MeanStd = 1.0,
    position_std: PositionStd = 0.3,
    frame_norm: FrameNorm = 0.3,
    text: options.Text = None,
    steps: shared.Steps = 200,
    seed: shared.Seed = 0,
    resume: shared.Resume = False,
    tokenizer: shared.Tokenizer = None,
    vocabulary: Vocabulary = None,
    length: Length = None,
    batch: shared.Batch = 24,
    accumulation: shared.Accumulation = 1,
    learning_rate: shared.Rate = 2e-2,
    weight_decay: Decay = 0.1,
    tied: Tied = True,
    held_out: shared.HeldOut = 0.1,
    precision: shared.Precision = "float32",
    gradient_checkpointing: shared.Checkpointing = False,
    save_every: shared.SaveEvery = None,
    device: shared.Device = "cpu",
    trackers: shared.Trackers = None,
    track_every: shared.TrackEvery = None,
    debug: options.Debug = False,
) -> int:
    """Train and print the loss on held-out text; the parameters are the options of the same name.

    Returns:
        The exit code, 0.
    """
    shared.ensure_accelerate()
    from heedful.gauge.run_settings import GaugeRunSettings

    settings = GaugeRunSettings(
        irreps=irreps,
        layers=layers,
        covariance=covariance,
        kappa=kappa,
        kappa_rule=kappa_rule,
        target_concentration=target_concentration,
        feed_forward=feed_forward,
        mask_self=mask_self,
        position_means=position_means,
        token_frames=token_frames,
        position_frames=position_frames,
        layer_norm=layer_norm,
        residual=residual,
        alignment_weight=alignment,
        prior_weight=prior,
        mean_std=mean_std,
        position_std=position_std,
        frame_norm=frame_norm,
        steps=steps,
        seed=seed,
        tied=tied,
        vocabulary=vocabulary,
        length=length,
        batch=batch,
        accumulation=accumulation,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        held_out=held_out,
        precision=precision,
        gradient_checkpointing=gradient_checkpointing,
        save_every=save_every,
        device=device,
        trackers=tuple(trackers or ()),
        track_every=track_every,
    )
    return shared.trained(settings, out, list(text or ()), tokenizer, resume)
