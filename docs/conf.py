"""The site: python docs/make.py site, or make docs, builds docs/_build/html, and takes a warning for an error."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import scoresde

project = "scoresde"
author = copyright = "the scoresde developers"
version = release = scoresde.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "machinery.docstrings",
    "machinery.mathml",
    "machinery.repository",
    "machinery.rooms",
]
exclude_patterns = ["_build", "tutorials", "machinery", "**/sg_execution_times.rst", "sg_execution_times.rst"]
suppress_warnings = ["config.cache"]

myst_enable_extensions = ["dollarmath", "colon_fence", "attrs_inline", "attrs_block"]
myst_heading_anchors = 3
myst_dmath_double_inline = True
math_number_all = False
html_math_renderer = "mathml"

autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False
python_use_unqualified_type_names = True
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = "scoresde"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_copyright = False
html_copy_source = False
html_show_sourcelink = False
pygments_style, pygments_dark_style = "a11y-high-contrast-light", "a11y-high-contrast-dark"
copybutton_exclude = ".linenos, .gp, .go"

if (HERE / "tutorials").is_dir():  # scripts, each run while the site is built
    extensions.append("sphinx_gallery.gen_gallery")
    sphinx_gallery_conf = {
        "examples_dirs": "tutorials",
        "gallery_dirs": "auto_tutorials",
        "download_all_examples": False,
        "remove_config_comments": True,
        "write_computation_times": False,
        "plot_gallery": True,
        "abort_on_example_error": True,
    }
