module github.com/plexauth/plexauth/internal/integration

go 1.26.0

replace github.com/plexauth/plexauth => ../..

require github.com/stretchr/testify v1.12.1

require go.yaml.in/yaml/v3 v3.0.5 // indirect
