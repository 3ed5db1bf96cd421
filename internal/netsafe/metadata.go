package netsafe

import "net/netip"

// AWS's credentials for instances and containers, over plain http within the host (EC2 User
// Guide, instance metadata; EKS User Guide, pod identity)
var metadataServices = []netip.Prefix{netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("fd00:ec2::/32")}

// IsMetadata reports whether host is a service on this machine that gives out AWS
// credentials, which has no https. Such requests may pass although Check refuses them.
func IsMetadata(host string) bool {
	addr, err := netip.ParseAddr(host)
	for _, p := range metadataServices {
		if err == nil && p.Contains(addr.Unmap()) {
			return true
		}
	}
	return false
}
