//go:build cgo

package main

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/miekg/pkcs11"
)

// p256 is the OID of the curve, in DER, as CKA_EC_PARAMS has it.
var p256, _ = asn1.Marshal(asn1.ObjectIdentifier{1, 2, 840, 10045, 3, 1, 7})

// module is a loaded PKCS#11 library.
type module struct {
	ctx  *pkcs11.Ctx
	path string
}

func openModule(path string) (*module, error) {
	ctx := pkcs11.New(path)
	if ctx == nil {
		return nil, fmt.Errorf("loading the PKCS#11 module %s: it is missing, or not a PKCS#11 library: set %s to the library of the token", path, moduleEnv)
	}
	if err := ctx.Initialize(); err != nil && !is(err, pkcs11.CKR_CRYPTOKI_ALREADY_INITIALIZED) {
		ctx.Destroy()
		return nil, fmt.Errorf("starting the PKCS#11 module %s: %w", path, err)
	}
	return &module{ctx, path}, nil
}

func (m *module) close() {
	m.ctx.Finalize()
	m.ctx.Destroy()
}

type token struct {
	slot          uint
	label, serial string
	flags         uint
}

func (t token) String() string { return fmt.Sprintf("%s (serial %s)", t.label, t.serial) }

func (m *module) tokens(name string) ([]token, error) {
	slots, err := m.ctx.GetSlotList(true)
	if err != nil {
		return nil, fmt.Errorf("listing the tokens: %w", err)
	}
	var all []token
	for _, s := range slots {
		info, err := m.ctx.GetTokenInfo(s)
		if err != nil || info.Flags&pkcs11.CKF_TOKEN_INITIALIZED == 0 {
			continue // an empty place is not a token
		}
		t := token{s, clean(strings.TrimSpace(info.Label)), clean(strings.TrimSpace(info.SerialNumber)), info.Flags}
		if name == "" || name == t.label || name == t.serial {
			all = append(all, t)
		}
	}
	return all, nil
}

// token returns the one of that name, or the only one there is.
func (m *module) token(name string) (token, error) {
	all, err := m.tokens(name)
	if err != nil {
		return token{}, err
	}
	switch len(all) {
	case 0:
		return token{}, fmt.Errorf("looking for the token %s: it is not there, or not initialized: insert it, or name its module with --module", name)
	case 1:
		return all[0], nil
	}
	return token{}, fmt.Errorf("several tokens are there: give --token LABEL or --token SERIAL of one: %s", list(all))
}

func list(tokens []token) string {
	var names []string
	for _, t := range tokens {
		names = append(names, t.String())
	}
	return strings.Join(names, ", ")
}

// key is a P-256 key in a token, known by its public half.
type key struct {
	token  token
	label  string
	id     []byte // CKA_ID, which both halves have
	public *ecdh.PublicKey
}

func (k key) String() string {
	return fmt.Sprintf("token %s, key %s, id %s", k.token, k.label, hex.EncodeToString(k.id))
}

func (k key) identity() *identity { return &identity{public: k.public} }

// keys returns the keys in all tokens of that name, for which no PIN is needed.
func (m *module) keys(name string) ([]key, error) {
	all, err := m.tokens(name)
	if err != nil {
		return nil, err
	}
	var found []key
	for _, t := range all {
		session, err := m.ctx.OpenSession(t.slot, pkcs11.CKF_SERIAL_SESSION)
		if err != nil {
			return nil, fmt.Errorf("opening the token %s: %w", t, explain(err))
		}
		in, err := m.keysOf(session, t)
		m.ctx.CloseSession(session)
		if err != nil {
			return nil, fmt.Errorf("reading the keys of the token %s: %w", t, explain(err))
		}
		found = append(found, in...)
	}
	return found, nil
}

func (m *module) keysOf(session pkcs11.SessionHandle, t token) ([]key, error) {
	objects, err := m.find(session, []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_PUBLIC_KEY),
		pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_EC),
	})
	if err != nil {
		return nil, err
	}
	var found []key
	for _, o := range objects {
		a, err := m.ctx.GetAttributeValue(session, o, []*pkcs11.Attribute{
			pkcs11.NewAttribute(pkcs11.CKA_EC_POINT, nil), pkcs11.NewAttribute(pkcs11.CKA_ID, nil), pkcs11.NewAttribute(pkcs11.CKA_LABEL, nil),
		})
		if err != nil {
			continue // another program's, of another form
		}
		if public, err := parsePoint(a[0].Value); err == nil {
			found = append(found, key{t, clean(string(a[2].Value)), a[1].Value, public})
		}
	}
	return found, nil
}

// parsePoint reads CKA_EC_POINT: an OCTET STRING in DER, which some tokens leave out.
func parsePoint(value []byte) (*ecdh.PublicKey, error) {
	var point []byte
	if rest, err := asn1.Unmarshal(value, &point); err != nil || len(rest) > 0 {
		point = value
	}
	return ecdh.P256().NewPublicKey(point)
}

const maxObjects = 1000

func (m *module) find(session pkcs11.SessionHandle, template []*pkcs11.Attribute) ([]pkcs11.ObjectHandle, error) {
	if err := m.ctx.FindObjectsInit(session, template); err != nil {
		return nil, err
	}
	defer m.ctx.FindObjectsFinal(session)
	objects, _, err := m.ctx.FindObjects(session, maxObjects)
	return objects, err
}

// generate makes a key pair in a token. The private half never leaves it.
func (m *module) generate(t token, label string, pin pin) (key, error) {
	session, err := m.login(t, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION, pin)
	if err != nil {
		return key{}, err
	}
	defer m.ctx.CloseSession(session)
	id := make([]byte, 16)
	rand.Read(id)
	both := []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true),
		pkcs11.NewAttribute(pkcs11.CKA_ID, id),
		pkcs11.NewAttribute(pkcs11.CKA_LABEL, label),
		pkcs11.NewAttribute(pkcs11.CKA_DERIVE, true),
	}
	public := append(slices.Clone(both), pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, false), pkcs11.NewAttribute(pkcs11.CKA_EC_PARAMS, p256))
	private := append(slices.Clone(both),
		pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, true), pkcs11.NewAttribute(pkcs11.CKA_SENSITIVE, true),
		pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, false), pkcs11.NewAttribute(pkcs11.CKA_SIGN, false))
	mechanism := []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_EC_KEY_PAIR_GEN, nil)}
	if _, _, err = m.ctx.GenerateKeyPair(session, mechanism, public, private); err != nil {
		return key{}, fmt.Errorf("making a key in the token %s: %w", t, explain(err))
	}
	all, err := m.keysOf(session, t)
	if err != nil {
		return key{}, fmt.Errorf("reading the new key of the token %s: %w", t, explain(err))
	}
	for _, k := range all {
		if string(k.id) == string(id) {
			return k, nil
		}
	}
	return key{}, fmt.Errorf("reading the new key of the token %s: it is not there", t)
}

// login opens a session for the token's user. A PIN of a file is tried once: when the
// last login failed it is not sent again, for a few wrong ones lock a token, and a
// job over many backups has the same file for each of them.
func (m *module) login(t token, flags uint, pin pin) (pkcs11.SessionHandle, error) {
	switch {
	case t.flags&pkcs11.CKF_USER_PIN_LOCKED != 0:
		return 0, fmt.Errorf("the token %s: %w", t, errLocked)
	case pin.file != "" && t.flags&(pkcs11.CKF_USER_PIN_COUNT_LOW|pkcs11.CKF_USER_PIN_FINAL_TRY) != 0:
		return 0, fmt.Errorf("the token %s: a wrong PIN was the last that it got, and %s is not tried again: put the right one there, then log in once by hand (pkcs11-tool --login --list-objects)", t, pin.file)
	}
	text, err := pin.get(t.String())
	if err != nil {
		return 0, err
	}
	session, err := m.ctx.OpenSession(t.slot, flags)
	if err != nil {
		return 0, fmt.Errorf("opening the token %s: %w", t, explain(err))
	}
	if err := m.ctx.Login(session, pkcs11.CKU_USER, text); err != nil && !is(err, pkcs11.CKR_USER_ALREADY_LOGGED_IN) {
		m.ctx.CloseSession(session)
		return 0, fmt.Errorf("logging in to the token %s: %w", t, explain(err))
	}
	return session, nil
}

// opened is a private key that the token derives with. It is an ecdh.KeyExchanger.
type opened struct {
	m       *module
	session pkcs11.SessionHandle
	object  pkcs11.ObjectHandle
	key     key
}

func (o *opened) close() {
	o.m.ctx.Logout(o.session)
	o.m.ctx.CloseSession(o.session)
	o.m.close()
}

func (m *module) open(public *ecdh.PublicKey, pin pin) (*opened, error) {
	all, err := m.keys("")
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(all, func(k key) bool { return k.public.Equal(public) })
	if at < 0 {
		there, err := m.tokens("")
		if err != nil {
			return nil, err
		}
		if len(there) == 0 {
			return nil, fmt.Errorf("looking for the key: no token is there (module %s): insert it", m.path)
		}
		return nil, fmt.Errorf("looking for the key: none of the tokens has it: %s: insert the token that does", list(there))
	}
	k := all[at]
	session, err := m.login(k.token, pkcs11.CKF_SERIAL_SESSION, pin)
	if err != nil {
		return nil, err
	}
	objects, err := m.find(session, []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY),
		pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_EC),
		pkcs11.NewAttribute(pkcs11.CKA_ID, k.id),
	})
	if err == nil && len(objects) != 1 {
		err = fmt.Errorf("%d private keys have the id %s", len(objects), hex.EncodeToString(k.id))
	}
	if err != nil {
		m.ctx.CloseSession(session)
		return nil, fmt.Errorf("looking for the private key in the token %s: %w", k.token, explain(err))
	}
	return &opened{m, session, objects[0], k}, nil
}

// PublicKey implements ecdh.KeyExchanger.
func (o *opened) PublicKey() *ecdh.PublicKey { return o.key.public }

// Curve implements ecdh.KeyExchanger.
func (o *opened) Curve() ecdh.Curve { return ecdh.P256() }

// ECDH implements ecdh.KeyExchanger: the token multiplies (SP 800-56A 5.7.1.2), and
// gives the shared secret of this one file.
func (o *opened) ECDH(peer *ecdh.PublicKey) ([]byte, error) {
	mechanism := []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_ECDH1_DERIVE, pkcs11.NewECDH1DeriveParams(pkcs11.CKD_NULL, nil, peer.Bytes()))}
	secret, err := o.m.ctx.DeriveKey(o.session, mechanism, o.object, []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_TOKEN, false),
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY),
		pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_GENERIC_SECRET),
		pkcs11.NewAttribute(pkcs11.CKA_SENSITIVE, false),
		pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, true),
		pkcs11.NewAttribute(pkcs11.CKA_VALUE_LEN, 32),
	})
	if err != nil {
		return nil, explain(err)
	}
	defer o.m.ctx.DestroyObject(o.session, secret)
	a, err := o.m.ctx.GetAttributeValue(o.session, secret, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_VALUE, nil)})
	if err != nil {
		return nil, explain(err)
	}
	if len(a[0].Value) != 32 {
		return nil, errors.New("the token derives a secret of another length")
	}
	return a[0].Value, nil
}

var (
	errLocked   = errors.New("its PIN is locked after too many wrong ones: the security officer sets a new one (pkcs11-tool --init-pin --login --login-type so)")
	errWrongPIN = errors.New("the PIN is wrong: a few more wrong ones lock it")
	errGone     = errors.New("the token was taken out: insert it")
)

func is(err error, code uint) bool {
	var e pkcs11.Error
	return errors.As(err, &e) && uint(e) == code
}

// explain says what a code of PKCS#11 means for people.
func explain(err error) error {
	var e pkcs11.Error
	if !errors.As(err, &e) {
		return err
	}
	switch uint(e) {
	case pkcs11.CKR_PIN_INCORRECT, pkcs11.CKR_PIN_LEN_RANGE, pkcs11.CKR_PIN_INVALID:
		return errWrongPIN
	case pkcs11.CKR_PIN_LOCKED:
		return errLocked
	case pkcs11.CKR_TOKEN_NOT_PRESENT, pkcs11.CKR_DEVICE_REMOVED, pkcs11.CKR_TOKEN_NOT_RECOGNIZED:
		return errGone
	case pkcs11.CKR_USER_PIN_NOT_INITIALIZED:
		return errors.New("the token has no PIN yet: pkcs11-tool --init-pin sets it")
	case pkcs11.CKR_MECHANISM_INVALID, pkcs11.CKR_CURVE_NOT_SUPPORTED, pkcs11.CKR_DOMAIN_PARAMS_INVALID:
		return fmt.Errorf("the token does not do ECDH with P-256: %w", e)
	}
	return e
}
