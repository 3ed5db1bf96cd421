# For a component.
path "secret/data/takumi/production" {
  capabilities = ["read"]
}
path "secret/metadata/takumi/production" {
  capabilities = ["read", "list"]
}
