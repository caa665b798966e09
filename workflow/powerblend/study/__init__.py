"""The study: from a configuration to records of answers.

``schema`` says what may be asked for, ``resolve`` makes conditions that run of those that are
written, ``cells`` names each way of generating, ``layout`` knows every path, ``problems`` reads
datasets, ``prompts`` makes chats of them, ``answers`` asks the engine for what ``store`` does not
have yet. Knows no figure and no report, and of the engine nothing but its front door.
"""
