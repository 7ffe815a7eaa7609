"""The command `collm`: one subcommand a module, loaded when it is called."""
