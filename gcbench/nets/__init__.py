"""Networks that libraries do not ship, one file per published architecture.

Parameter names are those of the official checkpoints, so that a checkpoint loads strictly. The
modules are plain torch and import nothing else of gcbench.
"""
