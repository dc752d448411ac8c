"""clients_case.py - what the tests of official clients share: the packages of this machine, and one server a class.

They run when tests/run has the clients (phase `clients`); by hand, with LOQUAT_NODE (a Node program), LOQUAT_NPM (the
folder with node_modules) and LOQUAT_LM_EVAL (a Python with lm-eval) in the environment, and skip without.
"""
import importlib
import os
import unittest

from api_case import ApiCase
from harness import MODEL, Server

NODE, NPM, LM_EVAL = (os.environ.get("LOQUAT_" + name, "") for name in ("NODE", "NPM", "LM_EVAL"))


def have(name):
    """The module, or None."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


class ClientCase(ApiCase):
    """With the default checkpoint where there is one: it has a chat template and says something."""

    @classmethod
    def setUpClass(cls):
        if not MODEL:
            raise unittest.SkipTest("needs a checkpoint in LOQUAT_TEST_MODEL")
        cls.server = Server("--ctx", "2048", model="smol=" + MODEL)
        cls.addClassCleanup(cls.server.__exit__, None, None, None)
        cls.url = f"http://127.0.0.1:{cls.server.port}"
        cls.model, cls.context = "smol", 2048
