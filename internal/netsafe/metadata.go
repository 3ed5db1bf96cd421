package netsafe

import "net/netip"

// Where AWS offers instance and container credentials, over plain http within
// the host (EC2 User Guide, instance metadata; EKS User Guide, pod identity).
var metadataServices = []netip.Prefix{netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("fd00:ec2::/32")}

// IsMetadata reports whether host is the address of a service that gives AWS
// credentials to what runs on this machine, which has no https. Such requests
// may pass although Check refuses them.
func IsMetadata(host string) bool {
	addr, err := netip.ParseAddr(host)
	for _, p := range metadataServices {
		if err == nil && p.Contains(addr.Unmap()) {
			return true
		}
	}
	return false
}
