//! Workspaces: every path that a client names goes through here, and nothing else opens files for clients.
