package contracts

import "fmt"

// Difference is one thing in which two states differ.
type Difference struct {
	Address Address  `json:"address"`
	Names   []string `json:"names,omitempty"`
	// What differs: existence, code hash, or implementation, admin or beacon.
	What   string `json:"what"`
	Before string `json:"before"`
	After  string `json:"after"`
}

// String returns the difference in words.
func (d Difference) String() string {
	name := ""
	for _, n := range d.Names {
		name += " " + n
	}
	return fmt.Sprintf("%s%s: the %s was %s and is %s", d.Address, name, d.What, d.Before, d.After)
}

// Subjects returns what to ask a chain for, to compare it with s.
func (s *State) Subjects() []Subject {
	var subjects []Subject
	for _, a := range s.Accounts {
		subjects = append(subjects, Subject{Address: a.Address, Names: a.Names})
	}
	return subjects
}

// Compare returns where the code of before differs in after, or is reached through another
// proxy. Balances, nonces and storage are ignored. Both states must be verified.
func Compare(before, after *State) []Difference {
	now := map[Address]*Account{}
	for i := range after.Accounts {
		now[after.Accounts[i].Address] = &after.Accounts[i]
	}
	var found []Difference
	for _, a := range before.Accounts {
		add := func(what string, x, y any) {
			if x != y {
				found = append(found, Difference{a.Address, a.Names, what, fmt.Sprint(x), fmt.Sprint(y)})
			}
		}
		b := now[a.Address]
		if b == nil {
			b = &Account{CodeHash: emptyCode}
		}
		add("existence", a.Exists, b.Exists)
		add("code hash", a.CodeHash, b.CodeHash)
		add("implementation", a.Proxy.Implementation, b.Proxy.Implementation)
		add("admin", a.Proxy.Admin, b.Proxy.Admin)
		add("beacon", a.Proxy.Beacon, b.Proxy.Beacon)
	}
	return found
}
