"""``heedful gauge train``: train the gauge transformer on your text, with the options of ``heedful train``."""

from typing import Annotated, Literal

import typer

from heedful.commandline import options
from heedful.commandline.errors import guarded
from heedful.training import command as shared

Irreps = Annotated[
    str, typer.Option(metavar="IRREPS", help="Heads of a layer, as '5x0e + 3x1e + 1x2e' or [('l0', 5, 1), ...].")
]
Layers = Annotated[int, typer.Option(metavar="N", min=1, help="Layers.")]
Covariance = Annotated[
    Literal["isotropic", "diagonal", "full"], typer.Option(metavar="NAME", help="isotropic, diagonal or full.")
]
CovarianceFrame = Annotated[
    Literal["common", "token"],
    typer.Option(metavar="NAME", help="Frame in which diagonal covariances are diagonal: common, or the token's own."),
]
Kappa = Annotated[float, typer.Option(metavar="X", help="Temperature, above 0.")]
KappaRule = Annotated[
    Literal["shared", "sqrt", "dim", "calibrated", "learned"],
    typer.Option(
        metavar="NAME",
        help="shared; sqrt or dim: times sqrt(dim) or dim of the head; calibrated on the first batch; learned.",
    ),
]
Target = Annotated[
    float | None,
    typer.Option(
        "--target-concentration",
        metavar="X",
        help="Target distance of calibrated heads from uniform attention in nats. Default: .5.",
    ),
]
FeedForward = Annotated[
    Literal["learned", "variational", "none"],
    typer.Option(metavar="NAME", help="learned, variational (a step down the free energy) or none."),
]
MaskSelf = Annotated[
    bool, typer.Option("--mask-self/--see-self", help="A token that sees other tokens does not see itself.")
]
PositionMeans = Annotated[
    bool, typer.Option("--position-means/--no-position-means", help="Add learned means of positions.")
]
TokenFrames = Annotated[
    Literal["learned", "none"],
    typer.Option(metavar="NAME", help="learned, or none: tokens have no frame of their own."),
]
PositionFrames = Annotated[
    Literal["none", "learned", "sinusoidal"], typer.Option(metavar="NAME", help="none, learned or sinusoidal.")
]
LayerNorm = Annotated[bool, typer.Option("--layer-norm", help="Normalise means; this is not equivariant.")]
Residual = Annotated[bool, typer.Option("--residual/--no-residual", help="Add the attention output to its input.")]
Alignment = Annotated[
    float,
    typer.Option(
        "--alignment",
        metavar="X",
        help="Weight of the loss on divergences between tokens and the tokens they attend to.",
    ),
]
Prior = Annotated[
    float, typer.Option(metavar="X", help="Weight of the loss on divergences from the embedded beliefs, per token.")
]
MeanStd = Annotated[float, typer.Option(metavar="X", help="Standard deviation of the initial means.")]
PositionStd = Annotated[float, typer.Option(metavar="X", help="Standard deviation of the initial means of positions.")]
FrameNorm = Annotated[float, typer.Option(metavar="X", help="Length of the initial rotation vectors, up to pi.")]
Vocabulary = Annotated[
    int | None, typer.Option(metavar="N", min=258, help="Vocabulary size of the trained tokenizer. Default: 2048.")
]
Length = Annotated[int | None, typer.Option(metavar="N", min=2, help="Tokens in a training window. Default: 128.")]
Decay = Annotated[
    float, typer.Option(metavar="X", min=0, help="Weight decay of weight matrices; belief tables have none.")
]
Tied = Annotated[
    bool, typer.Option("--tied/--untied", help="Use the table of means as output head, or train a separate head.")
]


@guarded
def gauge(
    out: shared.Out,
    irreps: Irreps = "5x0e + 3x1e + 1x2e",
    layers: Layers = 1,
    covariance: Covariance = "diagonal",
    covariance_frame: CovarianceFrame = "common",
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
    """Train a gauge transformer and print its held-out loss; the parameters are the options of the same name.

    Returns:
        The exit code, 0.
    """
    shared.ensure_accelerate("gauge")
    from heedful.gauge.run_settings import GaugeRunSettings

    settings = GaugeRunSettings(
        irreps=irreps,
        layers=layers,
        covariance=covariance,
        covariance_frame=covariance_frame,
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
