#!/usr/bin/env node
// Stands beside the sources because a compiler writes no executable bit: what npm links is here.
import '../../dist/lab/cli/main.js';
