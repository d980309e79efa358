"""Reproducible builds and a registry for ExecuTorch LoRA bundles."""
