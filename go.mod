module github.com/takumi-backup/takumi-backup

go 1.26.0
