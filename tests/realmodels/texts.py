"""Text in the languages of the protein and reaction models: human germline segments and plain reactions, joined."""

from __future__ import annotations

import random

from heedful.loading.documents import Documents

_HEAVY = [
    "EVQLLESGGGLVQPGGSLRLSCAASGFTFSSYAMSWVRQAPGKGLEWVSAISGSGGSTYYADSVKGRFTISRDNSKNTLYLQMNSLRAEDTAVYYCAK",
    "QVQLVQSGAEVKKPGSSVKVSCKASGGTFSSYAISWVRQAPGQGLEWMGGIIPIFGTANYAQKFQGRVTITADESTSTAYMELSSLRSEDTAVYYCAR",
    "QVQLQQWGAGLLKPSETLSLTCAVYGGSFSGYYWSWIRQPPGKGLEWIGEINHSGSTNYNPSLKSRVTISVDTSKNQFSLKLSSVTAADTAVYYCAR",
    "QVQLVESGGGVVQPGRSLRLSCAASGFTFSSYGMHWVRQAPGKGLEWVAVISYDGSNKYYADSVKGRFTISRDNSKNTLYLQMNSLRAEDTAVYYCAR",
    "QVQLVQSGAEVKKPGASVKVSCKASGYTFTGYYMHWVRQAPGQGLEWMGWINPNSGGTNYAQKFQGRVTMTRDTSISTAYMELSRLRSDDTAVYYCAR",
    "EVQLVQSGAEVKKPGESLKISCKGSGYSFTSYWIGWVRQMPGKGLEWMGIIYPGDSDTRYSPSFQGQVTISADKSISTAYLQWSSLKASDTAMYYCAR",
]  # IGHV3-23, 1-69, 4-34, 3-30, 1-2, 5-51
_JOINED = ["AEYFQHWGQGTLVTVSS", "YFDYWGQGTLVTVSS", "AFDIWGQGTMVTVSS", "NWFDPWGQGTLVTVSS", "YYYYYGMDVWGQGTTVTVSS"]
_LIGHT = [
    "DIQMTQSPSSLSASVGDRVTITCRASQSISSYLNWYQQKPGKAPKLLIYAASSLQSGVPSRFSGSGSGTDFTLTISSLQPEDFATYYCQQSYSTPWTFGQGTKVEIK",
    "EIVLTQSPGTLSLSPGERATLSCRASQSVSSSYLAWYQQKPGQAPRLLIYGASSRATGIPDRFSGSGSGTDFTLTISRLEPEDFAVYYCQQYGSSPYTFGQGTKLEIK",
    "DIVMTQSPLSLPVTPGEPASISCRSSQSLLHSNGYNYLDWYLQKPGQSPQLLIYLGSNRASGVPDRFSGSGSGTDFTLKISRVEAEDVGVYYCMQALQTPLTFGGGTKVEIK",
]  # IGKV1-39, 3-20, 2-28 with a joining segment
_MUTATED = 0.04
_AMINO_ACIDS = "ACDEFGHIKLMNPQRSTVWY"

_CARBON = [
    "c1ccccc1",
    "c1ccc(OC)cc1",
    "c1ccc(Cl)cc1",
    "c1ccncc1",
    "c1cccs1",
    "C1CCCCC1",
    "CC(C)C",
    "c1ccc2ccccc2c1",
    "c1ccoc1",
    "CCOC",
]
_AMINES = ["N1CCOCC1", "N1CCCCC1", "NCc1ccccc1", "NC1CC1", "NCCC", "N1CCN(C)CC1", "Nc1ccc(F)cc1", "NCCOC"]
_SOLVENTS = ["CN(C)C=O", "ClCCl", "C1CCOC1", "CC#N", "CCO"]


def antibodies(count: int) -> Documents:
    """Variable domains with a few random substitutions, a blank between residues; two of three are heavy chains."""
    drawn = random.Random(0)
    texts = []
    for index in range(count):
        loop = "".join(drawn.choice("GSYDRTAVLNW") for _ in range(drawn.randint(4, 9)))
        chain = drawn.choice(_HEAVY) + loop + drawn.choice(_JOINED) if index % 3 < 2 else drawn.choice(_LIGHT)
        texts.append(" ".join(drawn.choice(_AMINO_ACIDS) if drawn.random() < _MUTATED else c for c in chain))
    return Documents(names=tuple(f"antibody {i}" for i in range(count)), texts=tuple(texts), origin="antibodies")


def reactions(count: int) -> Documents:
    """Amide couplings and hydrolyses in SMILES, precursors before ``>>`` and the product behind it."""
    drawn = random.Random(0)
    texts = []
    for _ in range(count):
        carbon, amine, solvent = drawn.choice(_CARBON), drawn.choice(_AMINES), drawn.choice(_SOLVENTS)
        coupling = f"CCN(CC)CC.{solvent}.O=C(O){carbon}.{amine}.CCN=C=NCCCN(C)C>>O=C({carbon}){amine}"
        hydrolysis = f"{solvent}.[Na+].[OH-].COC(=O){carbon}.Cl.C1COCCO1.CCOC(C)=O.O>>O=C(O){carbon}"
        texts.append(drawn.choice([coupling, hydrolysis]))
    return Documents(names=tuple(f"reaction {i}" for i in range(count)), texts=tuple(texts), origin="reactions")
