"""The study: from a configuration to generation records.

``config`` says what may be asked for, ``cells`` names each way of generating, ``problems`` reads
datasets, ``prompts`` makes chats of them, ``store`` keeps finished chains, ``generate`` runs the
engine over a shard. Nothing here knows the inside of the engine.
"""
