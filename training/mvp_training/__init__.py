# SPDX-License-Identifier: MPL-2.0
"""An open reconstruction of the MVP network (arXiv 2501.03103): data, training, evaluation."""

__version__ = "0.1.0"
