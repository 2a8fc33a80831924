//go:build tools

// What this module is for: the programs that the tests build from it.
package tools

import (
	_ "github.com/ipshipyard/p2p-forge"
	_ "github.com/letsencrypt/pebble/v2/cmd/pebble"
)
