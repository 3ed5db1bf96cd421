package awssm

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// Store implements keystore.Storer. A missing secret is created (by its name; an ARN cannot
// be). The value keeps its form, text or binary, and a JSON object its other fields.
//
// The replaced version gets a stage of its own; the new key is put under AWSPENDING;
// AWSCURRENT is moved to it, which AWS refuses when somebody else has moved it
// (keystore.ErrConflict); then it is read back. AWS moves AWSPREVIOUS to the replaced
// version.
//
// Further kinds are as Load's; ErrRefused also when the URI names a version other than
// AWSCURRENT, when the current value is not a key, and when the secret has no stage left.
// After ErrUnreachable the key may have been stored: call Store with the same arguments
// again.
func (s *Secret) Store(ctx context.Context, key *kek.Key, before kek.ID) error {
	if s.version != "" && s.version != stageCurrent {
		return s.refuse("a key cannot be stored as that version", "leave the version out of the URI: "+(&Secret{id: s.id, field: s.field}).String())
	}
	return s.within(ctx, func(ctx context.Context, c *session) error { return s.store(ctx, c, key, before) })
}

func (s *Secret) store(ctx context.Context, c *session, key *kek.Key, before kek.ID) error {
	old, err := s.get(ctx, c, stageCurrent)
	if errors.Is(err, keystore.ErrNotFound) {
		if before != "" {
			return s.conflict("", before)
		}
		return s.first(ctx, c, key)
	}
	if err != nil {
		return err
	}
	defer old.value.wipe()
	holds, err := s.idOf(old)
	if err != nil {
		return err
	}
	if holds == key.ID() {
		return nil
	}
	if holds != before {
		return s.conflict(holds, before)
	}
	if holds != "" {
		if err := s.keep(ctx, c, old, holds); err != nil {
			return err
		}
	}
	return s.replace(ctx, c, old, key, before)
}

// idOf is the id of a version's key, "" without the field.
func (s *Secret) idOf(h *held) (kek.ID, error) {
	key, err := s.keyOf(h)
	if errors.Is(err, errNoField) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer key.Wipe()
	return key.ID(), nil
}

func (s *Secret) first(ctx context.Context, c *session, key *kek.Key) error {
	nothing := &held{}
	if arnRegion(s.id) != "" {
		return s.replace(ctx, c, nothing, key, "")
	}
	fresh, err := nothing.value.with(s.field, key)
	if err != nil {
		return s.refuse(err.Error(), "")
	}
	defer fresh.wipe()
	text, binary := fresh.parts()
	_, err = c.api.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: &s.id, ClientRequestToken: token(), SecretString: text, SecretBinary: binary})
	exists := errors.As(err, new(*types.ResourceExistsException)) // somebody was faster, or it is there without a value
	if err != nil && !exists {
		return s.fault(ctx, c, "CreateSecret", err)
	}
	err = s.confirm(ctx, c, nothing, key, "")
	if exists && errors.Is(err, keystore.ErrNotFound) {
		return s.replace(ctx, c, nothing, key, "")
	}
	return err
}

// keep gives the version to be replaced a stage of its own, without which AWS would delete
// it later.
func (s *Secret) keep(ctx context.Context, c *session, old *held, id kek.ID) error {
	stage := stageOf + string(id)
	if slices.Contains(old.stages, stage) {
		return nil
	}
	_, err := c.api.UpdateSecretVersionStage(ctx, &secretsmanager.UpdateSecretVersionStageInput{SecretId: &s.id, VersionStage: &stage, MoveToVersionId: &old.id})
	if err == nil {
		return nil
	}
	fault := s.fault(ctx, c, "UpdateSecretVersionStage", err)
	// When the key was taken back into use, an older version has it under that stage
	// already.
	kept, err := s.get(ctx, c, stage)
	if err != nil {
		return fault
	}
	defer kept.value.wipe()
	if holds, err := s.idOf(kept); err != nil || holds != id {
		return fault
	}
	return nil
}

func (s *Secret) replace(ctx context.Context, c *session, old *held, key *kek.Key, before kek.ID) error {
	fresh, err := old.value.with(s.field, key)
	if err != nil {
		return s.refuse(err.Error(), "")
	}
	defer fresh.wipe()
	text, binary := fresh.parts()
	put := &secretsmanager.PutSecretValueInput{SecretId: &s.id, ClientRequestToken: token(), VersionStages: []string{stagePending}, SecretString: text, SecretBinary: binary}
	if _, err := c.api.PutSecretValue(ctx, put); err != nil {
		return s.fault(ctx, c, "PutSecretValue", err)
	}
	move := &secretsmanager.UpdateSecretVersionStageInput{SecretId: &s.id, VersionStage: aws.String(stageCurrent), MoveToVersionId: put.ClientRequestToken}
	if old.id != "" {
		move.RemoveFromVersionId = &old.id
	}
	// An answer may be lost, and an attempt repeated: look at the result.
	_, moved := c.api.UpdateSecretVersionStage(ctx, move)
	if moved != nil {
		moved = s.fault(ctx, c, "UpdateSecretVersionStage", moved)
	}
	err = s.confirm(ctx, c, old, key, before)
	if moved != nil && err != nil && !errors.Is(err, keystore.ErrConflict) {
		return moved
	}
	return err
}

// confirm reads back the current value after old was to be replaced by key.
func (s *Secret) confirm(ctx context.Context, c *session, old *held, key *kek.Key, before kek.ID) error {
	now, err := s.get(ctx, c, stageCurrent)
	if err != nil {
		return err
	}
	defer now.value.wipe()
	holds, err := s.idOf(now)
	switch {
	case err != nil:
		return err
	case holds == key.ID():
		return nil
	case now.id != old.id:
		return s.conflict(holds, before)
	}
	return &keystore.Error{URI: s.String(), Kind: keystore.ErrUnreachable, Reason: "the new key is stored, but the former one is still returned", Fix: "try again in a minute"}
}

// conflict is the error for another key than Store expects.
func (s *Secret) conflict(current, before kek.ID) error {
	name := func(id kek.ID) string {
		if id == "" {
			return "no key"
		}
		return "key " + string(id)
	}
	return &keystore.Error{
		URI: s.String(), Kind: keystore.ErrConflict,
		Reason: fmt.Sprintf("it holds %s, where %s was expected; its current key was not changed", name(current), name(before)),
		Fix:    "see who else rotates it, and try again",
	}
}

// parts returns the value for the API: a text or a binary.
func (v value) parts() (text *string, binary []byte) {
	if v.binary {
		return nil, v.text
	}
	return aws.String(string(v.text)), nil
}

// token returns a random UUID (RFC 9562, version 4), which names a version and lets AWS
// recognize a repeated request.
func token() *string {
	var b [16]byte
	rand.Read(b[:]) // never fails: crypto/rand stops the program instead
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return aws.String(fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:]))
}
