"""``tables.tex``: a whole document with a run's tables, figures, appendix and references, to look at and to copy from."""

from __future__ import annotations

from collections.abc import Sequence

from bench.leaderboard.paper.texts import GLYPH, escape

_PREAMBLE = r"""\documentclass[10pt]{article}
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\usepackage{mathptmx,courier}
\usepackage[letterpaper,textwidth=6.75in,textheight=9in]{geometry}
\usepackage{array,booktabs,graphicx,longtable,url}
\usepackage[numbers,sort&compress]{natbib}
\emergencystretch=2em"""


def document(name: str, tables: Sequence[str], figures: Sequence[tuple[str, str]]) -> str:
    """The document.

    Args:
        name: of the suite and the run.
        tables: files of the tables, as ``\\input`` takes them.
        figures: files of the figures, and what they show.
    """
    lines = [
        f"% {' '.join(name.split())}: made by bench paper; compile with latexmk -pdf tables.tex",
        _PREAMBLE,
        GLYPH,
        rf"\pagestyle{{myheadings}}\markright{{{escape(name)}}}",
        r"\begin{document}",
        *(rf"\input{{{file}}}" for file in tables),
        *(line for figure in figures for line in _figure(*figure)),
        r"\clearpage\appendix",
        r"\input{appendix}",
        r"\bibliographystyle{unsrtnat}",
        r"\bibliography{references}",
        r"\end{document}",
    ]
    return "\n".join([*lines, ""])


def _figure(file: str, caption: str) -> list[str]:
    return [
        r"\begin{figure}[tp]",
        r"\centering",
        rf"\includegraphics{{{file}}}",
        rf"\caption{{{escape(caption)}}}",
        r"\end{figure}",
    ]
