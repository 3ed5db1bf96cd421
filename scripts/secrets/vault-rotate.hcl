# For the rotation, and nobody else.
path "secret/data/takumi/production" {
  capabilities = ["create", "read", "update"]
}
