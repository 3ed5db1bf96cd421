package awssm

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/takumi-backup/takumi-backup/keystore"
)

// A secret has about a hundred versions at most: one page.
const (
	pageSize = 100
	maxPages = 20
)

// Versions implements keystore.Keeper by ListSecretVersionIds: AWSCURRENT, AWSPREVIOUS, and
// the others with a stage, from the newest to the oldest. Left out are those without a
// stage, which Secrets Manager may delete, and a lone AWSPENDING, whose key was never used.
// Each Source loads its version by id, with the same field; a version in the URI does not
// matter. Errors are as Load's.
func (s *Secret) Versions(ctx context.Context) ([]keystore.Version, error) {
	var entries []types.SecretVersionsListEntry
	err := s.within(ctx, func(ctx context.Context, c *session) (err error) {
		entries, err = s.list(ctx, c)
		return err
	})
	if err != nil {
		return nil, err
	}
	entries = slices.DeleteFunc(entries, func(e types.SecretVersionsListEntry) bool {
		return e.VersionId == nil || !slices.ContainsFunc(e.VersionStages, func(stage string) bool { return stage != stagePending })
	})
	slices.SortStableFunc(entries, func(a, b types.SecretVersionsListEntry) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), aws.ToTime(b.CreatedDate).Compare(aws.ToTime(a.CreatedDate)))
	})
	var all []keystore.Version
	for _, e := range entries {
		stages := slices.Sorted(slices.Values(e.VersionStages))
		all = append(all, keystore.Version{
			Source:  &Secret{id: s.id, field: s.field, version: *e.VersionId, conn: s.conn},
			Name:    clean(strings.Join(stages, ",") + "/" + *e.VersionId),
			Current: rank(e) == 0,
			Created: aws.ToTime(e.CreatedDate),
		})
	}
	return all, nil
}

// rank puts the current version first and the one before it second.
func rank(e types.SecretVersionsListEntry) int {
	switch {
	case slices.Contains(e.VersionStages, stageCurrent):
		return 0
	case slices.Contains(e.VersionStages, stagePrevious):
		return 1
	}
	return 2
}

func (s *Secret) list(ctx context.Context, c *session) ([]types.SecretVersionsListEntry, error) {
	var all []types.SecretVersionsListEntry
	in := &secretsmanager.ListSecretVersionIdsInput{SecretId: &s.id, MaxResults: aws.Int32(pageSize)}
	for range maxPages {
		out, err := c.api.ListSecretVersionIds(ctx, in)
		if err != nil {
			return nil, s.fault(ctx, c, "ListSecretVersionIds", err)
		}
		all = append(all, out.Versions...)
		if aws.ToString(out.NextToken) == "" {
			return all, nil
		}
		in.NextToken = out.NextToken
	}
	return nil, s.refuse("the list of its versions does not end", "check AWS_ENDPOINT_URL: a secret has some hundred versions at most")
}
