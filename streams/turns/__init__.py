"""Examples from the log, turn by turn, so that whatever learns from them is a function of the log alone."""
